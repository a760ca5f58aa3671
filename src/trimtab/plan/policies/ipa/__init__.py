"""IPA (JSys 2024) and the baselines that its authors built from it."""
