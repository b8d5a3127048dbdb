"""Model files: dlib's own format read, ONNX graphs built from it, both checked by hash, sessions opened."""
