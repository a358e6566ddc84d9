"""What outlives the process: `interface` says what is kept, `sqlite` keeps it in one file of the state directory."""
