"""The commands of ``audioup``, one file each."""
