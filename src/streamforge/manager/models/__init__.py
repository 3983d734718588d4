"""Models: asked for, stored, listed, read and removed."""
