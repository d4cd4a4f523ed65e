//! Whether the coded data of a JPEG hold the whole image.
//!
//! A decoder that comes upon a marker in the middle of a scan goes on with zeros, and one that finds no symbol fills the rest with grey; both give a
//! picture without a word. So the codes of every scan are followed here, up to its last block, without computing a pixel (ITU-T T.81, Annexes F and G;
//! the sequential and progressive Huffman processes, which are all that decoders of photographs know).

use super::jpeg_codes::{Bits, Checked, Codes, Fault};

/// What is wrong with the coded data; `None` where nothing is, and where the decoder has to say.
pub(super) fn fault(bytes: &[u8]) -> Option<&'static str> {
    Scans { bytes, at: 2, ..Scans::default() }.run().err().and_then(|fault| match fault {
        Fault::Ended => Some("its image data end before the image does: the file was cut off"),
        Fault::Damaged => Some("its image data are damaged"),
        Fault::Other => None,
    })
}

/// No decoder reads more scans.
const MOST_SCANS: usize = 100;
/// Coefficients of a block.
const BLOCK: u32 = 64;

/// One of DC and one of AC for each of four places.
type Tables = [Option<Codes>; 4];

#[derive(Default)]
struct Scans<'a> {
    bytes: &'a [u8],
    at: usize,
    tables: [Tables; 2],
    /// Units from one restart marker to the next; none where there are none.
    restart: u32,
    frame: Option<Frame>,
}

/// What the frame's header says.
struct Frame {
    progressive: bool,
    width: u32,
    height: u32,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Blocks in a unit, across and down.
    across: u32,
    down: u32,
    /// Whether a scan has begun it.
    begun: bool,
    /// Of a progressive image: which coefficients of each block are not zero so far, a bit each.
    set: Vec<u64>,
}

/// What a scan is of.
struct Scan<'t> {
    /// The first and the last coefficient, in zigzag order.
    first: u32,
    last: u32,
    /// Whether it refines what earlier scans gave.
    refines: bool,
    dc: Option<&'t Codes>,
    ac: Option<&'t Codes>,
}

impl Frame {
    /// Units that interleave all components.
    fn units(&self) -> (u32, u32) {
        let most = |of: fn(&Component) -> u32| self.components.iter().map(of).max().unwrap_or(1).saturating_mul(8);
        (self.width.div_ceil(most(|c| c.across)), self.height.div_ceil(most(|c| c.down)))
    }

    /// Blocks of one component that hold pixels.
    fn blocks(&self, of: &Component) -> (u32, u32) {
        let most = |of: fn(&Component) -> u32| self.components.iter().map(of).max().unwrap_or(1).saturating_mul(8);
        let side = |pixels: u32, own: u32, most: u32| pixels.saturating_mul(own).div_ceil(most);
        (side(self.width, of.across, most(|c| c.across)), side(self.height, of.down, most(|c| c.down)))
    }
}

impl<'a> Scans<'a> {
    /// From marker to marker.
    fn run(&mut self) -> Checked<()> {
        let mut scans = 0usize;
        loop {
            match self.marker().ok_or(Fault::Other)? {
                0xd9 => break,
                0xd8 | 0x01 | 0xd0..=0xd7 => {}
                0xda => {
                    scans = scans.saturating_add(1);
                    if scans > MOST_SCANS {
                        return Err(Fault::Other);
                    }
                    self.scan()?;
                }
                marker => {
                    let segment = self.segment()?;
                    match marker {
                        // A second one is none of the image whose size was looked at.
                        0xc0..=0xc2 if self.frame.is_some() => return Err(Fault::Other),
                        0xc0..=0xc2 => self.frame = Some(frame(segment, marker == 0xc2)?),
                        0xc4 => self.codes(segment)?,
                        // Lossless, hierarchical, arithmetic.
                        0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Err(Fault::Other),
                        0xdd => self.restart = segment.first_chunk().map_or(0, |n| u16::from_be_bytes(*n).into()),
                        _ => {}
                    }
                }
            }
        }
        match &self.frame {
            Some(frame) if frame.components.iter().all(|c| c.begun) => Ok(()),
            Some(_) => Err(Fault::Ended),
            None => Err(Fault::Other),
        }
    }

    /// The next marker, over any number of FF before it, and over what should not be there.
    fn marker(&mut self) -> Option<u8> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            let begins = rest.iter().position(|&b| b == 0xff)?;
            let fill = rest.get(begins..)?.iter().take_while(|&&b| b == 0xff).count();
            let place = self.at.checked_add(begins)?.checked_add(fill)?;
            self.at = place.checked_add(1)?;
            match *self.bytes.get(place)? {
                0 => {}
                marker => return Some(marker),
            }
        }
    }

    /// What follows a marker, without its length.
    fn segment(&mut self) -> Checked<&'a [u8]> {
        let rest = self.bytes.get(self.at..).ok_or(Fault::Other)?;
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk().ok_or(Fault::Other)?));
        self.at = self.at.saturating_add(length);
        rest.get(2..length).ok_or(Fault::Other)
    }

    /// Tables of codes.
    fn codes(&mut self, mut segment: &[u8]) -> Checked<()> {
        while let Some((kind, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(Fault::Other)?;
            let (symbols, rest) = rest.split_at_checked(counts.iter().map(|&n| usize::from(n)).sum()).ok_or(Fault::Other)?;
            let place = self.tables.get_mut(usize::from(kind >> 4)).and_then(|tables| tables.get_mut(usize::from(kind & 15)));
            *place.ok_or(Fault::Other)? = Some(Codes::new(counts, symbols)?);
            segment = rest;
        }
        Ok(())
    }

    fn scan(&mut self) -> Checked<()> {
        let header = self.segment()?;
        let frame = self.frame.as_mut().ok_or(Fault::Other)?;
        let (&count, rest) = header.split_first().ok_or(Fault::Other)?;
        let (parts, band) = rest.split_at_checked(usize::from(count).saturating_mul(2)).ok_or(Fault::Other)?;
        let &[first, last, approximation] = band.first_chunk().ok_or(Fault::Other)?;
        let (first, last) = if frame.progressive { (first.into(), last.into()) } else { (0, BLOCK.saturating_sub(1)) };
        // AC coefficients of a progressive image stand in scans of their own.
        if last >= BLOCK || first > last || (frame.progressive && (first == 0) != (last == 0)) || (first > 0 && count != 1) {
            return Err(Fault::Other);
        }
        let mut of = vec![];
        for part in parts.chunks_exact(2) {
            let &[id, places] = part.first_chunk().ok_or(Fault::Other)?;
            let component = frame.components.iter().position(|c| c.id == id).ok_or(Fault::Other)?;
            let table = |kind: usize, place: u8| self.tables.get(kind).and_then(|tables| tables.get(usize::from(place))?.as_ref());
            let refines = frame.progressive && approximation >> 4 != 0;
            of.push((component, Scan { first, last, refines, dc: table(0, places >> 4), ac: table(1, places & 15) }));
        }
        let (units, interleaved) = match of.as_slice() {
            [] => return Err(Fault::Other),
            [(one, _)] => (frame.blocks(frame.components.get(*one).ok_or(Fault::Other)?), false),
            _ => (frame.units(), true),
        };
        let whole = frame.units();
        let mut bits = Bits::new(self.bytes, self.at);
        // Blocks without a further coefficient.
        let (mut empty, mut since, mut next) = (0u32, 0u32, 0u8);
        for row in 0..units.1 {
            for column in 0..units.0 {
                if self.restart > 0 && since == self.restart {
                    bits.restart(next)?;
                    (empty, since, next) = (0, 0, next.wrapping_add(1) & 7);
                }
                since = since.wrapping_add(1);
                for (component, scan) in &of {
                    let component = frame.components.get_mut(*component).ok_or(Fault::Other)?;
                    component.begun = true;
                    let (across, down) = if interleaved { (component.across, component.down) } else { (1, 1) };
                    for block in 0..across.saturating_mul(down) {
                        if !frame.progressive {
                            scan.whole_block(&mut bits)?;
                            continue;
                        }
                        if scan.first == 0 {
                            scan.first_coefficient(&mut bits)?;
                            continue;
                        }
                        // Alone, so that a unit is a block.
                        debug_assert_eq!(block, 0);
                        let stride = whole.0.saturating_mul(component.across);
                        if component.set.is_empty() {
                            component.set = vec![0; stride.saturating_mul(whole.1).saturating_mul(component.down) as usize];
                        }
                        let place = row.saturating_mul(stride).saturating_add(column) as usize;
                        let set = component.set.get_mut(place).ok_or(Fault::Other)?;
                        match scan.refines {
                            false => scan.further(&mut bits, &mut empty, set)?,
                            true => scan.refined(&mut bits, &mut empty, set)?,
                        }
                    }
                }
            }
        }
        // What is left are bits of filling, or bytes that decoders pass over.
        self.at = bits.begin();
        Ok(())
    }
}

/// The header of a frame.
fn frame(segment: &[u8], progressive: bool) -> Checked<Frame> {
    let (&[_, a, b, c, d, count], rest) = segment.split_first_chunk::<6>().ok_or(Fault::Other)?;
    let number = |high: u8, low: u8| u32::from(u16::from_be_bytes([high, low]));
    let (height, width) = (number(a, b), number(c, d));
    let component = |part: &[u8]| {
        let &[id, sides, _] = part.first_chunk()?;
        let (across, down) = (u32::from(sides >> 4), u32::from(sides & 15));
        ((1..=4).contains(&across) && (1..=4).contains(&down)).then_some(Component { id, across, down, begun: false, set: vec![] })
    };
    let components: Option<Vec<Component>> = rest.chunks_exact(3).take(count.into()).map(component).collect();
    match components {
        Some(components) if components.len() == usize::from(count) && width > 0 && height > 0 => {
            Ok(Frame { progressive, width, height, components })
        }
        _ => Err(Fault::Other),
    }
}

impl Scan<'_> {
    fn symbol(codes: Option<&Codes>, bits: &mut Bits) -> Checked<u32> {
        bits.symbol(codes.ok_or(Fault::Other)?)
    }

    /// A block of a sequential image.
    fn whole_block(&self, bits: &mut Bits) -> Checked<()> {
        let size = Self::symbol(self.dc, bits)?;
        bits.skip(size)?;
        let mut k = 1;
        while k < BLOCK {
            let symbol = Self::symbol(self.ac, bits)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            match size {
                0 if run < 15 => break,
                0 => k += 16,
                size => {
                    k += run;
                    if k >= BLOCK {
                        return Err(Fault::Damaged);
                    }
                    bits.skip(size)?;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// The first coefficient of a block of a progressive image.
    fn first_coefficient(&self, bits: &mut Bits) -> Checked<()> {
        let size = if self.refines { 1 } else { Self::symbol(self.dc, bits)? };
        bits.skip(size)
    }

    /// Further coefficients, for the first time.
    fn further(&self, bits: &mut Bits, empty: &mut u32, set: &mut u64) -> Checked<()> {
        if *empty > 0 {
            *empty -= 1;
            return Ok(());
        }
        let mut k = self.first;
        while k <= self.last {
            let symbol = Self::symbol(self.ac, bits)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            match size {
                0 if run < 15 => {
                    *empty = (1 << run) + bits.take(run)? - 1;
                    break;
                }
                0 => k += 16,
                size => {
                    k += run;
                    if k > self.last {
                        return Err(Fault::Damaged);
                    }
                    bits.skip(size)?;
                    *set |= 1 << k;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// A further bit of them: of each that was not zero before, and codes for those that are not any more.
    fn refined(&self, bits: &mut Bits, empty: &mut u32, set: &mut u64) -> Checked<()> {
        let before = *set;
        let mut k = self.first;
        while *empty == 0 && k <= self.last {
            let symbol = Self::symbol(self.ac, bits)?;
            let (mut run, size) = (symbol >> 4, symbol & 15);
            match size {
                0 if run < 15 => {
                    *empty = (1 << run) + bits.take(run)?;
                    break;
                }
                0 => {}
                1 => bits.skip(1)?,
                _ => return Err(Fault::Damaged),
            }
            while k <= self.last {
                match before >> k & 1 {
                    1 => bits.skip(1)?,
                    _ if run == 0 => break,
                    _ => run -= 1,
                }
                k += 1;
            }
            if size == 1 {
                if k > self.last {
                    return Err(Fault::Damaged);
                }
                *set |= 1 << k;
            }
            k += 1;
        }
        if *empty > 0 {
            *empty -= 1;
            let rest = (self.first..=self.last).filter(|&i| i >= k && before >> i & 1 == 1).count();
            for _ in 0..rest {
                bits.skip(1)?;
            }
        }
        Ok(())
    }
}
