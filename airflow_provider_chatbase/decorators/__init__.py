"""The TaskFlow decorator."""
