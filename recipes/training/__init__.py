"""What both training recipes share: where they run, when they stop, which updates they take, where results are from."""
