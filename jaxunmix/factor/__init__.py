"""The factorisation engine: factors, losses, penalties, constraints, updates and the loop."""
