//! (being built) Cron expressions with crontab(5) semantics.
