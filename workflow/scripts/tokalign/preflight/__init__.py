"""What a run will need, checked and estimated before its first job."""
