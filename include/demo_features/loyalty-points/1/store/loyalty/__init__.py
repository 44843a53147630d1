"""Loyalty points: how many an order is worth, who keeps them."""


def points_for(total: int) -> int:
    """One point for every whole euro."""
    return max(total, 0) // 100
