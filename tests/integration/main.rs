//! What a user relies on, through sockets.
