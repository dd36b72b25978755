//! Snapshots, as streams.

use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt};
use tonic::Status;

use super::Inner;
use super::convert::status;
use crate::BackupStream;
use crate::proto::{Nothing, SnapshotResponse};

/// How large the pieces are that go on the wire, as in etcd.
const BLOB_BYTES: usize = 32 << 10;

impl Inner {
    /// The whole backup, piece by piece, as the client takes it.
    pub(super) fn snapshot(self: Arc<Self>, _: Nothing) -> impl Stream<Item = Result<SnapshotResponse, Status>> {
        let backup = match &self.backup {
            Some(backup) => backup.backup().map_err(status),
            None => Err(Status::unimplemented("etcdserver: this store gives no snapshots")),
        };
        stream::iter([backup]).flat_map(move |backup| match backup {
            Ok(backup) => pieces(self.clone(), backup).left_stream(),
            Err(refused) => stream::iter([Err(refused)]).right_stream(),
        })
    }
}

fn pieces(inner: Arc<Inner>, backup: BackupStream) -> impl Stream<Item = Result<SnapshotResponse, Status>> {
    let header = Some(inner.header(backup.revision()));
    let pieces = stream::unfold(backup, |mut backup| async move {
        // Others get their turn between pieces.
        tokio::task::yield_now().await;
        let piece = backup.next()?;
        Some((piece.map(|piece| (piece, backup.bytes_left())), backup))
    });
    pieces.flat_map(move |piece| {
        let responses: Vec<_> = match piece {
            Ok((piece, left)) => {
                let blobs = (0..piece.len()).step_by(BLOB_BYTES);
                let blob = |from: usize| piece.slice(from..(from + BLOB_BYTES).min(piece.len()));
                blobs.map(|from| Ok(SnapshotResponse { header, remaining_bytes: left, blob: blob(from) })).collect()
            }
            Err(error) => vec![Err(status(error))],
        };
        stream::iter(responses)
    })
}
