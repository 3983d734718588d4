"""What the manager knows of its own health: findings with what to do, and facts for who looks into them."""
