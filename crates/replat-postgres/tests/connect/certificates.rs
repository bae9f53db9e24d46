//! Certificates for one test run, made by the openssl program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::Identity;

/// A folder of certificates; removed when dropped.
pub struct Certificates {
    folder: PathBuf,
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // Nobody is left to hear that a folder stays behind.
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Certificates {
    /// Two authorities (`ca`, `other`), a server `localhost` and a client `certified` signed by the first, and a
    /// server `self` for `localhost` that signed itself.
    pub fn make() -> Certificates {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("replat-certificates-{}-{}", process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder of our own");
        let certificates = Certificates { folder };
        certificates.self_signed("ca", "/CN=an authority", &[]);
        certificates.self_signed("other", "/CN=another authority", &[]);
        certificates.self_signed("self", "/CN=localhost", &["-addext", "subjectAltName=DNS:localhost"]);
        certificates.signed("server", "/CN=localhost", "subjectAltName=DNS:localhost");
        certificates.signed("client", "/CN=certified", "extendedKeyUsage=clientAuth");
        certificates
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// What the server `name` shows; clients are vouched for by `ca`.
    pub fn identity(&self, name: &str) -> Identity {
        Identity {
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
            client_authority: self.path("ca.crt"),
        }
    }

    fn self_signed(&self, name: &str, subject: &str, more: &[&str]) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let base = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let what = ["-days", "2", "-subj", subject, "-keyout", &key, "-out", &certificate];
        openssl(&self.folder, &[&base[..], &what, more].concat());
    }

    fn signed(&self, name: &str, subject: &str, extension: &str) {
        let file = |ending: &str| format!("{name}.{ending}");
        let base =
            ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject];
        openssl(&self.folder, &[&base[..], &["-keyout", &file("key"), "-out", &file("csr")]].concat());
        fs::write(self.path(&file("ext")), extension).expect("a small file");
        let sign = ["x509", "-req", "-days", "2", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
        let files = ["-in", &file("csr"), "-extfile", &file("ext"), "-out", &file("crt")];
        openssl(&self.folder, &[&sign[..], &files].concat());
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").current_dir(folder).args(arguments).output();
    let output = output.expect("the openssl program is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
