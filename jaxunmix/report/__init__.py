"""What users see of a result: figures and pages."""
