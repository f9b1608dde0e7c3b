"""The kernel's network: the only code that touches it. Everything else decides; this package does."""
