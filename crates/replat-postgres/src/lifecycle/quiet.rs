//! Getting a lock without anybody noticing.
