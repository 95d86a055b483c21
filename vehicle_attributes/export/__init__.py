"""Exports a trained recognizer as a SavedModel or as ONNX files."""
