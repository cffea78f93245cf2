"""What several test modules build their worlds from."""
