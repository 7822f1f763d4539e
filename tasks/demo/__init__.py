"""The demo's data, servers and baseline; nothing else imports it but tests."""
