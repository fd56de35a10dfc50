"""The tables of minutes, hours and days, completed by raw rows where they lag behind."""
