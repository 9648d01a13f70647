"""What stands between scores and answers."""
