"""The triggers. They only ever read: a restarted triggerer runs them again."""
