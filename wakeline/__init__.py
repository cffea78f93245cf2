"""Wakeline turns what customers do into the right email within a second, and can prove why each was sent."""
