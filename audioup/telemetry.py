"""Imported before onnxruntime, it keeps that from writing a device id into the home and from sending what it counts."""

import os

# Read when onnxruntime is loaded; its switch in Python comes too late. Wheels for Linux have it, at least since 1.32.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
