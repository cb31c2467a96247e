"""What all packages use: errors, files, digests, progress, command lines, versions, arrays."""
