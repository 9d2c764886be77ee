"""Where the provider writes and reads: directories, locks, row formats; on local disks and object stores."""
