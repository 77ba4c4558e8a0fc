"""What people type: ``lab queue``, ``lab keys``, ``lab audit``. Nothing heavy is imported before a command needs it."""
