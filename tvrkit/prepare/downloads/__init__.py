"""Files from elsewhere: resumed, checked, and never half of one under its name."""
