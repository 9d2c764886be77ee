"""Deterministic simulation: one seed decides what happens when, and replays exactly; time is simulated."""
