//! The sweep at the start: removes what crashes left behind. It must never remove data that an object refers to, so if
//! any object's JSON cannot be read, no data is removed at all.

use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::store::{Object, Part, Segment, Store, Upload};

impl Store {
    /// Removes temporary files, uploads begun before `cutoff`, and data from before `cutoff` that nothing refers to.
    pub fn sweep(&self, cutoff: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(self.folder("tmp"))? {
            fs::remove_file(entry?.path())?;
        }
        let mut used = HashSet::new();
        let mut certain = true;
        for upload in fs::read_dir(self.folder("uploads"))? {
            let folder = upload?.path();
            if upload_is_stale(&folder, cutoff)? {
                fs::remove_dir_all(&folder)?;
                continue;
            }
            for part in fs::read_dir(&folder)? {
                let path = part?.path();
                if path.file_name().is_some_and(|name| name != "upload.json") {
                    certain &= note(&mut used, &path, |part: Part| vec![part.segment]);
                }
            }
        }
        for bucket in fs::read_dir(self.folder("objects"))? {
            for object in fs::read_dir(bucket?.path())? {
                certain &= note(&mut used, &object?.path(), |object: Object| object.segments);
            }
        }
        if certain {
            for data in fs::read_dir(self.folder("data"))? {
                let data = data?;
                let unused = data.file_name().to_str().is_some_and(|name| !used.contains(name));
                if unused && data.metadata()?.modified()? < cutoff {
                    fs::remove_file(data.path())?;
                }
            }
        }
        Ok(())
    }
}

/// An upload folder without its JSON is one whose creation was cut off; its age is then the folder's.
fn upload_is_stale(folder: &Path, cutoff: SystemTime) -> io::Result<bool> {
    let begun = match read::<Upload>(&folder.join("upload.json")) {
        Ok(upload) => SystemTime::UNIX_EPOCH + Duration::from_millis(upload.started_ms),
        Err(_) => fs::metadata(folder)?.modified()?,
    };
    Ok(begun < cutoff)
}

fn note<T: serde::de::DeserializeOwned>(used: &mut HashSet<String>, path: &Path, segments: impl FnOnce(T) -> Vec<Segment>) -> bool {
    read(path).map(|value| used.extend(segments(value).into_iter().map(|segment| segment.file))).is_ok()
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
