"""Imported before onnxruntime, it keeps that from writing a device id into the home and from sending what it counts."""

import os

# Read when onnxruntime is loaded; its switch in Python comes too late. Wheels for Linux have telemetry: 1.32, not 1.23.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
