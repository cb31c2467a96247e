"""Shared by all packages: errors, files, digests, progress, command lines, versions, arrays."""
