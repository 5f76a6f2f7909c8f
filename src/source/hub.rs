//! `org/name[@revision]` in the local Hugging Face cache.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// A repository on the Hub, as the user named it.
pub(super) struct Repository {
    org: String,
    pub(super) name: String,
    revision: String,
}

/// `org/name[@revision]`, if the path can be read that way.
pub(super) fn repository(path: &Path) -> Option<Repository> {
    let text = path.to_str()?;
    let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
    let (org, name) = repo.split_once('/')?;
    let plain = |s: &str| {
        !s.is_empty()
            && !s.starts_with('.')
            && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let sane_revision =
        !revision.is_empty() && !revision.split('/').any(|part| part.is_empty() || part.starts_with('.'));
    (plain(org) && plain(name) && sane_revision).then(|| Repository {
        org: org.into(),
        name: name.into(),
        revision: revision.into(),
    })
}

impl Repository {
    /// The folder of its files.
    pub(super) fn snapshot(&self) -> Result<PathBuf> {
        self.snapshot_in(&cache_folder())
    }

    fn snapshot_in(&self, cache: &Path) -> Result<PathBuf> {
        let folder = cache.join(format!("models--{}--{}", self.org, self.name));
        let commit = std::fs::read_to_string(folder.join("refs").join(&self.revision));
        let commit = commit.map_or_else(|_| self.revision.clone(), |c| c.trim().to_owned());
        let snapshot = folder.join("snapshots").join(commit);
        if snapshot.is_dir() {
            return Ok(snapshot);
        }
        let mut repo = format!("{}/{}", self.org, self.name);
        if self.revision != "main" {
            repo += &format!(" --revision {}", self.revision);
        }
        Err(Error::NotCached { repo, cache: cache.to_owned() })
    }
}

/// HF_HUB_CACHE, else HF_HOME/hub, else the cache folder's huggingface/hub, as huggingface_hub looks it up.
fn cache_folder() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("HF_HUB_CACHE").unwrap_or_else(|| {
        let home = || var("HOME").unwrap_or_default().join(".cache");
        let hf_home = || var("XDG_CACHE_HOME").unwrap_or_else(home).join("huggingface");
        var("HF_HOME").unwrap_or_else(hf_home).join("hub")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_repository_looks_like() {
        for good in ["org/name", "HuggingFaceTB/SmolLM2-135M", "org/name@v1.0", "org/name@refs/pr/1"] {
            assert!(repository(Path::new(good)).is_some(), "{good}");
        }
        for bad in ["name", "a/b/c", "../b", "a/..", "/a/b", "org/name@", "org/name@../x", "./model"] {
            assert!(repository(Path::new(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_snapshot_by_branch_and_by_commit() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("models--org--name");
        std::fs::create_dir_all(folder.join("snapshots/abc123")).unwrap();
        std::fs::create_dir_all(folder.join("refs")).unwrap();
        std::fs::write(folder.join("refs/main"), "abc123\n").unwrap();
        let at = |text| repository(Path::new(text)).unwrap().snapshot_in(cache.path());
        assert_eq!(at("org/name").unwrap(), folder.join("snapshots/abc123"));
        assert_eq!(at("org/name@abc123").unwrap(), folder.join("snapshots/abc123"));
        let missing = at("org/name@v2").unwrap_err();
        assert_eq!(missing.hint().unwrap(), "hf download org/name --revision v2");
    }
}
