//! Downloads from a small server on this machine: whole, resumed, broken off, wrong, refused.

use super::*;
use crate::verify::tests::entry;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// How the server answers.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    /// By the book, ranges included.
    Good,
    /// Ignores ranges: always the whole file.
    NoRanges,
    /// Announces the whole file, and hangs up half-way through each answer.
    HangsUp,
    /// Answers a range with another one.
    WrongRange,
    /// 416 to every range.
    RefusesRanges,
    /// 404.
    Missing,
}

/// What the clients asked for: the `Range` header of each request, or nothing.
pub(crate) type Requests = Arc<Mutex<Vec<Option<String>>>>;

/// Serves `content` until the test ends; returns the address and the requests seen.
pub(crate) fn serve(content: &'static [u8], manner: Manner) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file.bin", listener.local_addr().unwrap());
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut range = None;
            for line in BufReader::new(&stream).lines() {
                let line = line.unwrap();
                if let Some((key, value)) = line.split_once(':')
                    && key.eq_ignore_ascii_case("range")
                {
                    range = Some(value.trim().to_owned());
                }
                if line.is_empty() {
                    break;
                }
            }
            seen.lock().unwrap().push(range.clone());
            // A client that hangs up first is no matter.
            let _ = answer(&mut stream, content, manner, range.as_deref());
        }
    });
    (url, requests)
}

fn answer(stream: &mut impl Write, content: &[u8], manner: Manner, range: Option<&str>) -> io::Result<()> {
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0);
    let total = content.len();
    let (status, start, extra) = match (manner, range) {
        (Manner::Missing, _) => ("404 Not Found", total, String::new()),
        (Manner::RefusesRanges, Some(_)) => ("416 Range Not Satisfiable", total, String::new()),
        (Manner::WrongRange, Some(_)) => {
            ("206 Partial Content", 0, format!("Content-Range: bytes 0-{}/{total}\r\n", total - 1))
        }
        (Manner::NoRanges, _) | (_, None) => ("200 OK", 0, String::new()),
        (_, Some(_)) => {
            ("206 Partial Content", start, format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1))
        }
    };
    let body = &content[start..];
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{extra}Connection: close\r\n\r\n", body.len())?;
    let sent = if matches!(manner, Manner::HangsUp) { body.len().div_ceil(2) } else { body.len() };
    stream.write_all(&body[..sent])?;
    stream.flush()
}

const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// One download into a fresh folder, with `part` there before; returns the result, the file, what is left of the part.
fn download(expected: &File, part: Option<&[u8]>) -> (Result<()>, Option<Vec<u8>>, Option<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.bin");
    let part_path = folder.path().join("file.bin.part");
    if let Some(part) = part {
        fs::write(&part_path, part).unwrap();
    }
    let result = fetch(expected, &path);
    (result, fs::read(&path).ok(), fs::read(&part_path).ok())
}

#[test]
fn a_whole_file_arrives() {
    let (url, requests) = serve(CONTENT, Manner::Good);
    let (result, file, part) = download(&entry("file.bin", CONTENT, &[url]), None);
    result.unwrap();
    assert_eq!((file.as_deref(), part), (Some(CONTENT), None));
    assert_eq!(*requests.lock().unwrap(), [None]);
}

#[test]
fn a_part_is_continued() {
    let (url, requests) = serve(CONTENT, Manner::Good);
    let (result, file, part) = download(&entry("file.bin", CONTENT, &[url]), Some(&CONTENT[..10]));
    result.unwrap();
    assert_eq!((file.as_deref(), part), (Some(CONTENT), None));
    assert_eq!(*requests.lock().unwrap(), [Some("bytes=10-".to_owned())]);
}

#[test]
fn a_complete_part_needs_no_request() {
    let (url, requests) = serve(CONTENT, Manner::Good);
    let (result, file, _) = download(&entry("file.bin", CONTENT, &[url]), Some(CONTENT));
    result.unwrap();
    assert_eq!(file.as_deref(), Some(CONTENT));
    assert!(requests.lock().unwrap().is_empty());
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    for manner in [Manner::NoRanges, Manner::RefusesRanges, Manner::WrongRange] {
        let (url, _) = serve(CONTENT, manner);
        let (result, file, _) = download(&entry("file.bin", CONTENT, &[url]), Some(&CONTENT[..10]));
        result.unwrap();
        assert_eq!(file.as_deref(), Some(CONTENT));
    }
}

#[test]
fn a_wrong_part_is_thrown_away_and_the_file_fetched_afresh() {
    for wrong in [&b"something"[..], &[0; 36], &[0; 100]] {
        let (url, _) = serve(CONTENT, Manner::Good);
        let (result, file, part) = download(&entry("file.bin", CONTENT, &[url]), Some(wrong));
        result.unwrap();
        assert_eq!((file.as_deref(), part), (Some(CONTENT), None));
    }
}

#[test]
fn a_corrupted_file_is_refused_and_named() {
    let expected = entry("file.bin", b"0123456789abcdefghijklmnopqrstuvwxyZ", &[]);
    let (url, _) = serve(CONTENT, Manner::Good);
    let expected = File { urls: Vec::leak(vec![&*String::leak(url)]), ..expected };
    let (result, file, part) = download(&expected, None);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("served another file"), "{error}");
    assert!(error.contains(&format!("sha256 {}", expected.sha256)), "{error}");
    assert!(error.contains("got      sha256 "), "{error}");
    assert_eq!((file, part), (None, None));
}

#[test]
fn a_longer_file_is_refused() {
    let (url, _) = serve(CONTENT, Manner::Good);
    let (result, file, _) = download(&entry("file.bin", &CONTENT[..20], &[url]), None);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("expected 20 bytes"), "{error}");
    assert_eq!(file, None);
}

#[test]
fn a_broken_connection_is_taken_up_again_and_the_part_kept() {
    let (url, requests) = serve(CONTENT, Manner::HangsUp);
    let (result, file, part) = download(&entry("file.bin", CONTENT, &[url]), None);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("ended after 32 of 36 bytes"), "{error}");
    assert!(error.contains("Run the same command again"), "{error}");
    assert_eq!(file, None);
    assert_eq!(part.as_deref(), Some(&CONTENT[..32]));
    assert_eq!(requests.lock().unwrap().len(), ATTEMPTS);
}

#[test]
fn a_missing_file_is_named_and_the_next_address_tried() {
    let (missing, _) = serve(CONTENT, Manner::Missing);
    let (result, ..) = download(&entry("file.bin", CONTENT, std::slice::from_ref(&missing)), None);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("404 Not Found") && error.contains(&missing), "{error}");
    let (good, _) = serve(CONTENT, Manner::Good);
    let (result, file, _) = download(&entry("file.bin", CONTENT, &[missing, good]), None);
    result.unwrap();
    assert_eq!(file.as_deref(), Some(CONTENT));
}

#[test]
fn no_server_is_an_error() {
    let (result, ..) = download(&entry("file.bin", CONTENT, &["http://127.0.0.1:9/file.bin".to_owned()]), None);
    assert!(result.unwrap_err().to_string().contains("no answer"));
}
