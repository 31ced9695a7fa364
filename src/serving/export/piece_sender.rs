//! Sends an export to its receiver in pieces of one size.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ExportError;

/// Size of a piece in bytes.
const PIECE: usize = 64 << 10;

/// Sender of the pieces of an export.
pub(super) struct PieceSender {
    sender: mpsc::Sender<Result<Bytes, ExportError>>,
    idle: Duration,
    piece: Vec<u8>,
}

impl PieceSender {
    /// Creates a sender whose receiver may take no piece for at most `idle`.
    pub(super) fn new(sender: mpsc::Sender<Result<Bytes, ExportError>>, idle: Duration) -> Self {
        Self { sender, idle, piece: Vec::new() }
    }

    /// Returns the channel to the receiver.
    pub(super) fn sender(&self) -> mpsc::Sender<Result<Bytes, ExportError>> {
        self.sender.clone()
    }

    /// Appends to the current piece, and sends pieces that are full.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(part);
            rest = after;
            if self.piece.len() == PIECE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Sends the current piece, unless it is empty.
    pub(super) async fn flush(&mut self) -> Result<(), ExportError> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.send(piece.into()).await
    }

    async fn send(&self, piece: Bytes) -> Result<(), ExportError> {
        let sent = tokio::time::timeout(self.idle, self.sender.send(Ok(piece))).await;
        sent.map_err(|_| ExportError::Idle(self.idle))?.map_err(|_| ExportError::Left)
    }
}
