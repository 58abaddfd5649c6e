"""The parts of `train_gan.py`: networks, images, losses, training and what is measured meanwhile."""
