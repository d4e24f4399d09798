"""What everything may use and what knows nothing of people: errors, files, progress, the device."""
