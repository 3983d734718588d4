"""The checks of `doctor`, a module for each thing that StreamForge stands on."""
