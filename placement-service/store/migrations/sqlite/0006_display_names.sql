-- The user's name for people; empty: the account has no other name than its own.
ALTER TABLE sessions ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
