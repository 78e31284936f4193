//! What a spec asks of learning, seen on whole runs.
