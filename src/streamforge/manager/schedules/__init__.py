"""Schedules: requests that are made again and again, at the times of a cron expression."""
