//! Whether a JPEG has all that its header promises.
//!
//! Decoders fill what is missing with grey, and strict ones too where a marker stands in the place of the rest. So the bytes
//! are prepared before they are decoded: what can be counted is counted (parts between restart markers, colours, bits of a
//! refining scan), and the data of the last scan, and of each of its parts, are followed by a code that no Huffman table has. A
//! decoder that wants more units than there are runs into it and fails; one that has all of them never reads it. That costs a
//! copy of the file. Between scans it is not put: there the decoder looks for a marker and nothing else.
//!
//! A progressive JPEG of one scan is refused, although the standard allows it: it has the mean of each block and nothing else,
//! and cannot be told from one that was cut after its first scan.
//!
//! Not found: a short scan before the last one of a baseline JPEG with a scan for each colour, and refining bits that are
//! missing within a run of blocks that end early.
//! Source: ITU-T T.81, annexes B (markers), A.2 (order of units), F.1.2 (codes of ones only are not assigned), G (progressive).

/// Ones, with the zeros that keep them from being markers: more than any value and code together.
const NO_CODE: &[u8] = &[0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0];

const END: u8 = 0xd9;
const RESTART: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;

/// A colour of the frame: its name, and how many blocks of it lie in a unit, across and down.
#[derive(Clone, Copy, Debug)]
struct Component {
    id: u8,
    across: u64,
    down: u64,
    seen: bool,
}

#[derive(Debug, Default)]
struct Frame {
    progressive: bool,
    width: u64,
    height: u64,
    components: Vec<Component>,
}

/// What is known of the scan that is being walked through.
#[derive(Debug, Default)]
struct Scan {
    /// Units, each between two restarts or not.
    units: u64,
    /// Blocks, where each has one bit of its own and nothing else: a scan that refines the first coefficient.
    refined: Option<u64>,
    /// Units between restart markers; 0 where there are none.
    interval: u64,
    /// Where the data begin.
    start: usize,
    /// Where restart markers stand.
    restarts: Vec<usize>,
}

/// The bytes of a JPEG up to its end marker, prepared so that decoding them fails where units are missing. Its size must have
/// been compared with the limits: restart markers are kept, one for each unit at most.
///
/// # Errors
/// What is missing: the end marker, or what can be counted. More restart markers than units.
pub(super) fn sealed(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let cut = || format!("a truncated JPEG of {} bytes", bytes.len());
    let (mut frame, mut scan, mut scans, mut interval) = (None::<Frame>, None::<Scan>, 0, 0);
    // Where the parts of the last scan end.
    let mut seals = Vec::new();
    let mut at = 2;
    loop {
        // To the next marker: 0xff and neither a stuffed zero nor fill.
        let step = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xff)).ok_or_else(cut)?;
        at += step + 1;
        let marker = *bytes.get(at).ok_or_else(cut)?;
        match marker {
            0x00 | 0x01 | 0xd8 => at += 1,
            0xff => {}
            _ if RESTART.contains(&marker) => {
                if let Some(scan) = &mut scan {
                    scan.restart(at - 1)?;
                }
                at += 1;
            }
            _ => {
                // Whatever the segment is, the data of the scan before it have ended.
                if let Some(scan) = scan.take() {
                    scan.check(at - 1)?;
                    seals = scan.restarts;
                    seals.push(at - 1);
                }
                if marker == END {
                    whole(frame.as_ref(), scans)?;
                    return Ok(with_no_code(&bytes[..=at], &seals));
                }
                let length = bytes.get(at + 1..at + 3).ok_or_else(cut)?;
                let end = at + 1 + usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
                // A segment has an end marker of its own where it holds a thumbnail: it is stepped over as a whole.
                let body = bytes.get(at + 3..end).ok_or_else(cut)?;
                match (marker, body) {
                    (0xc0..=0xc2, _) => frame = Frame::parse(body, marker == 0xc2),
                    (0xdd, [high, low, ..]) => interval = u64::from(u16::from_be_bytes([*high, *low])),
                    (0xda, _) => {
                        scans += 1;
                        // What is no frame is the decoder's to name.
                        if let Some(frame) = &mut frame {
                            if !frame.progressive && frame.components.iter().all(|component| component.seen) {
                                return Err("a JPEG with one more scan after all of its colours".to_owned());
                            }
                            let found = frame.scan(body, interval, end);
                            scan = Some(found.ok_or("a JPEG with a scan of colours that its frame does not have")?);
                        }
                    }
                    _ => {}
                }
                at = end;
            }
        }
    }
}

/// Whether all scans that can be counted are there where the end marker stands.
fn whole(frame: Option<&Frame>, scans: u32) -> Result<(), String> {
    let Some(frame) = frame else { return Ok(()) };
    if frame.progressive && scans == 1 {
        return Err("a progressive JPEG that ends in its first scan".to_owned());
    }
    match frame.components.iter().filter(|component| !component.seen).count() {
        0 => Ok(()),
        missing => Err(format!("a JPEG that ends before {missing} of its {} colours", frame.components.len())),
    }
}

/// `bytes` with [`NO_CODE`] at each of `seals`, which ascend.
fn with_no_code(bytes: &[u8], seals: &[usize]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(bytes.len() + seals.len() * NO_CODE.len());
    let mut from = 0;
    for &seal in seals {
        sealed.extend_from_slice(&bytes[from..seal]);
        sealed.extend_from_slice(NO_CODE);
        from = seal;
    }
    sealed.extend_from_slice(&bytes[from..]);
    sealed
}

impl Frame {
    /// The body of a frame header; none where it makes no sense.
    fn parse(body: &[u8], progressive: bool) -> Option<Frame> {
        let [_, h0, h1, w0, w1, count, rest @ ..] = body else { return None };
        let components: Vec<Component> = rest
            .chunks_exact(3)
            .take((*count).into())
            .map(|c| Component { id: c[0], across: (c[1] >> 4).into(), down: (c[1] & 15).into(), seen: false })
            .collect();
        let sensible = !components.is_empty() && components.iter().all(|c| c.across > 0 && c.down > 0);
        let side = |high: &u8, low: &u8| u64::from(u16::from_be_bytes([*high, *low]));
        sensible.then(|| Frame { progressive, width: side(w0, w1), height: side(h0, h1), components })
    }

    /// The scan whose header has this body and whose data begin at `start`.
    fn scan(&mut self, body: &[u8], interval: u64, start: usize) -> Option<Scan> {
        let (count, rest) = body.split_first()?;
        let (named, rest) = rest.split_at_checked(2 * usize::from(*count))?;
        let [first, _, bits, ..] = rest else { return None };
        let most = |of: fn(&Component) -> u64| self.components.iter().map(of).max().unwrap_or(1);
        let (across, down) = (most(|c| c.across), most(|c| c.down));
        let (mut blocks, mut alone) = (0, (1, 1));
        for name in named.chunks_exact(2) {
            let component = self.components.iter_mut().find(|component| component.id == name[0])?;
            // The first coefficient makes the colour; its refinements come later. Only progressive scans tell them apart.
            component.seen |= !self.progressive || (*first == 0 && bits >> 4 == 0);
            blocks += component.across * component.down;
            alone = (component.across, component.down);
        }
        // One colour alone comes in blocks of its own grid, several in units of the common one.
        let units = match count {
            1 => (self.width * alone.0).div_ceil(8 * across) * (self.height * alone.1).div_ceil(8 * down),
            _ => self.width.div_ceil(8 * across) * self.height.div_ceil(8 * down),
        };
        let refines = self.progressive && *first == 0 && bits >> 4 > 0;
        let blocks = if *count == 1 { units } else { units * blocks };
        Some(Scan { units, refined: refines.then_some(blocks), interval, start, restarts: Vec::new() })
    }
}

impl Scan {
    /// Takes note of a restart marker at `at`.
    fn restart(&mut self, at: usize) -> Result<(), String> {
        if self.restarts.len() as u64 >= self.units {
            return Err(format!("a JPEG with more restart markers than its {} units", self.units));
        }
        self.restarts.push(at);
        Ok(())
    }

    /// Whether the scan, whose data end at `end`, can have all of its units.
    fn check(&self, end: usize) -> Result<(), String> {
        let parts = if self.interval == 0 { 1 } else { self.units.div_ceil(self.interval) };
        let got = self.restarts.len() as u64 + 1;
        if got < parts {
            return Err(format!("a JPEG that ends early, with {got} of {parts} parts between restart markers"));
        }
        let bits = end.saturating_sub(self.start) as u64 * 8;
        match self.refined.filter(|&blocks| blocks > bits) {
            None => Ok(()),
            Some(blocks) => Err(format!("a JPEG that ends early, with {bits} of {blocks} bits of a refining scan")),
        }
    }
}
