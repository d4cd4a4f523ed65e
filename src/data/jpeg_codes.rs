//! The codes of a JPEG's scans, and the bits that they stand in (ITU-T T.81, Annexes C and F).

pub(super) enum Fault {
    /// The data end too early.
    Ended,
    /// They hold what no encoder writes.
    Damaged,
    /// What is no matter of the data: the decoder knows.
    Other,
}

pub(super) type Checked<T> = Result<T, Fault>;

/// A table of codes (T.81, Annex C).
pub(super) struct Codes {
    /// By the next eight bits: the length of the code and the symbol, where the code is that short.
    short: [(u8, u8); 256],
    /// For each length from 1 on: the first code that is longer, with zeros up to 16 bits, and what to add to a code for the place of its symbol.
    longer: [(u32, i32); 16],
    symbols: Vec<u8>,
}

impl Codes {
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Checked<Codes> {
        let mut codes = Codes { short: [(0, 0); 256], longer: [(0, 0); 16], symbols: symbols.to_vec() };
        let (mut code, mut place) = (0u32, 0usize);
        for ((length, &count), longer) in (1u32..).zip(counts).zip(&mut codes.longer) {
            let end = code.saturating_add(count.into());
            if end > 1 << length {
                return Err(Fault::Other);
            }
            *longer = (end << 16u32.saturating_sub(length), (place as i32).wrapping_sub(code as i32));
            for (code, symbol) in (code..end).zip(symbols.iter().skip(place)) {
                if let Some(spare) = 8u32.checked_sub(length) {
                    let all = codes.short.iter_mut().skip((code << spare) as usize).take(1 << spare);
                    all.for_each(|entry| *entry = (length as u8, *symbol));
                }
            }
            place = place.saturating_add(count.into());
            code = end << 1;
        }
        Ok(codes)
    }
}

/// The bits of a scan, up to the next marker.
#[derive(Default)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte.
    at: usize,
    /// The next bits, the first one at the top.
    next: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// Those from the byte `at` on.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Bits<'a> {
        Bits { bytes, at, ..Bits::default() }
    }

    /// At least 32 bits, where the scan still has so many.
    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            let width = match byte {
                0xff if self.bytes.get(self.at.saturating_add(1)) != Some(&0) => return,
                0xff => 2,
                _ => 1,
            };
            self.at = self.at.saturating_add(width);
            self.next |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn drop(&mut self, n: u32) -> Checked<()> {
        self.count = self.count.checked_sub(n).ok_or(Fault::Ended)?;
        self.next <<= n;
        Ok(())
    }

    /// Passes over at most 16 bits.
    pub(super) fn skip(&mut self, n: u32) -> Checked<()> {
        if n > 16 {
            return Err(Fault::Damaged);
        }
        if self.count < n {
            self.fill();
        }
        self.drop(n)
    }

    /// At most 15 bits as a number.
    pub(super) fn take(&mut self, n: u32) -> Checked<u32> {
        if self.count < n {
            self.fill();
        }
        let number = if n == 0 { 0 } else { (self.next >> (64 - n)) as u32 };
        self.drop(n).map(|()| number)
    }

    pub(super) fn symbol(&mut self, codes: &Codes) -> Checked<u32> {
        if self.count < 16 {
            self.fill();
        }
        let &(length, symbol) = codes.short.get((self.next >> 56) as usize).unwrap_or(&(0, 0));
        if length > 0 {
            return self.drop(length.into()).map(|()| symbol.into());
        }
        let code = (self.next >> 48) as u32;
        let longer = (9u32..).zip(codes.longer.iter().skip(8)).find(|(_, (end, _))| code < *end);
        match longer {
            Some((length, (_, offset))) => {
                self.drop(length)?;
                let place = (code >> (16 - length)) as i32 + offset;
                codes.symbols.get(place as usize).map(|&s| s.into()).ok_or(Fault::Damaged)
            }
            None if self.count < 16 => Err(Fault::Ended),
            None => Err(Fault::Damaged),
        }
    }

    /// Where the first byte lies that was not read, or the marker that ends the scan.
    pub(super) fn begin(&self) -> usize {
        self.at
    }

    /// Goes over the restart marker of that number.
    pub(super) fn restart(&mut self, number: u8) -> Checked<()> {
        // Bytes that decoders pass over.
        while self.bytes.get(self.at).is_some() {
            (self.next, self.count) = (0, 0);
            let at = self.at;
            self.fill();
            if self.at == at {
                break;
            }
        }
        (self.next, self.count) = (0, 0);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let fill = rest.iter().take_while(|&&b| b == 0xff).count();
        match rest.get(fill) {
            Some(&marker) if marker == 0xd0 | number => {
                self.at = self.at.saturating_add(fill).saturating_add(1);
                Ok(())
            }
            Some(0xd0..=0xd7) => Err(Fault::Damaged),
            _ => Err(Fault::Ended),
        }
    }
}
