"""Thinning inside training loops of one's own, or of others."""
