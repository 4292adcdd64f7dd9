"""Archives unpacked with care: nothing outside their folder, no bombs, nothing half written."""
