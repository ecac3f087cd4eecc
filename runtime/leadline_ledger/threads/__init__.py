"""A store as asyncio sees it: one thread that commits for all who wait, and a few that read, on any database."""
