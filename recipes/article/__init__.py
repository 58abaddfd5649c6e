"""The claims of "Deconvolution and Checkerboard Artifacts", each measured: the parts of `reproduce_article.py`.

Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016).
"""
