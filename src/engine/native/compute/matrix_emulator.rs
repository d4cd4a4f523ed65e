//! AMX for processors without it, in tests: what the processor does not know reaches a signal handler, which decodes it and does it.
//!
//! The very instructions of `matrix.rs` are tested so, with their operands and addresses. Written from the description of the
//! instructions in Intel's manual (volume 2, TDPBF16PS, TILELOADD, TILESTORED, TILEZERO, LDTILECFG, TILERELEASE).

use super::amx;
use std::cell::RefCell;
use std::sync::OnceLock;

/// Tiles as bytes, and how many rows and bytes of a row each has.
struct State {
    tiles: [[[u8; 64]; 16]; 8],
    rows: [usize; 8],
    bytes: [usize; 8],
    set_up: bool,
}

thread_local! {
    static STATE: RefCell<State> = const {
        RefCell::new(State { tiles: [[[0; 64]; 16]; 8], rows: [0; 8], bytes: [0; 8], set_up: false })
    };
}

/// Catches the instructions where the processor lacks them; false where that is not possible (it has them, or the system is another).
pub fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        if amx::has_tiles() || !cfg!(target_os = "linux") {
            return false;
        }
        // SAFETY: the handler does what a handler may: the state is the thread's own, and the interrupted code is in no other part of this file.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()) == 0
        }
    })
}

/// Which of the context's registers an instruction's number names.
const REGISTERS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

extern "C" fn handle(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system gives a context, whose instruction pointer is at the instruction; no instruction is longer than 15 bytes, and what
    // follows one in a program's text can be read.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let at = registers[libc::REG_RIP as usize] as *const u8;
        let register = |number: usize| registers[REGISTERS[number] as usize] as usize;
        match execute(at, &register) {
            Some(length) => registers[libc::REG_RIP as usize] += length as i64,
            None => {
                // Not one of ours: it ends the process, as it would have.
                libc::signal(libc::SIGILL, libc::SIG_DFL);
            }
        }
    }
}

/// Does the instruction at `at`, and gives its length; `None` for what is none of AMX.
unsafe fn execute(at: *const u8, register: &dyn Fn(usize) -> usize) -> Option<usize> {
    // SAFETY: the caller's promise.
    let byte = |n: usize| unsafe { at.add(n).read() };
    // A prefix of three bytes for the table 0F 38, vectors of 128 bits, W0.
    if byte(0) != 0xC4 || byte(1) & 0x1F != 2 || byte(2) & 0x84 != 0 {
        return None;
    }
    let extended = |bit: u8| if byte(1) & bit == 0 { 8 } else { 0 };
    let (other, prefix, opcode, modrm) = ((!byte(2) >> 3 & 15) as usize, byte(2) & 3, byte(3), byte(4));
    let (mode, middle, low) = (modrm >> 6, (modrm >> 3 & 7) as usize, (modrm & 7) as usize);
    // Where the operand in memory lies, the distance of its rows, and the instruction's length.
    let memory = || -> Option<(usize, usize, usize)> {
        let (base, index, length) = match low {
            4 => {
                let sib = byte(5);
                let (scale, index, base) = (sib >> 6, (sib >> 3 & 7) as usize + extended(0x40), (sib & 7) as usize + extended(0x20));
                if sib & 7 == 5 && mode == 0 {
                    return None;
                }
                (register(base), if index == 4 { 0 } else { register(index) << scale }, 6)
            }
            5 if mode == 0 => {
                // From the end of the instruction on.
                let offset = i32::from_le_bytes([byte(5), byte(6), byte(7), byte(8)]);
                return Some(((at as usize + 9).wrapping_add_signed(offset as isize), 0, 9));
            }
            _ => (register(low + extended(0x20)), 0, 5),
        };
        let (offset, length) = match mode {
            0 => (0, length),
            1 => (byte(length) as i8 as isize, length + 1),
            2 => (i32::from_le_bytes([byte(length), byte(length + 1), byte(length + 2), byte(length + 3)]) as isize, length + 4),
            _ => return None,
        };
        Some((base.wrapping_add_signed(offset), index, length))
    };
    STATE.with_borrow_mut(|state| {
        let set_up = state.set_up;
        // A tile that is not set up is a fault.
        let valid = |tile: usize| (set_up && tile < 8 && state.rows[tile] > 0).then_some(tile);
        match (prefix, opcode) {
            (0, 0x49) if modrm == 0xC0 => {
                state.set_up = false;
                Some(5)
            }
            (0, 0x49) if mode != 3 && middle == 0 => {
                let (from, _, length) = memory()?;
                let read = |n: usize| unsafe { (from as *const u8).add(n).read() };
                if read(0) != 1 || (8..16).any(|tile| read(16 + 2 * tile) != 0 || read(48 + tile) != 0) {
                    return None;
                }
                for tile in 0..8 {
                    state.bytes[tile] = u16::from_le_bytes([read(16 + 2 * tile), read(17 + 2 * tile)]) as usize;
                    state.rows[tile] = read(48 + tile) as usize;
                    if state.bytes[tile] > 64 || state.rows[tile] > 16 {
                        return None;
                    }
                }
                state.tiles = [[[0; 64]; 16]; 8];
                state.set_up = true;
                Some(length)
            }
            (3, 0x49) if mode == 3 && low == 0 => {
                state.tiles[valid(middle)?] = [[0; 64]; 16];
                Some(5)
            }
            // Loads need a base and an index.
            (3 | 1, 0x4B) if mode != 3 && low == 4 => {
                let (tile, (from, distance, length)) = (valid(middle)?, memory()?);
                let bytes = state.bytes[tile];
                state.tiles[tile] = [[0; 64]; 16];
                for row in 0..state.rows[tile] {
                    let from = from.wrapping_add(row.wrapping_mul(distance)) as *const u8;
                    unsafe { from.copy_to(state.tiles[tile][row].as_mut_ptr(), bytes) };
                }
                Some(length)
            }
            (2, 0x4B) if mode != 3 && low == 4 => {
                let (tile, (to, distance, length)) = (valid(middle)?, memory()?);
                for row in 0..state.rows[tile] {
                    let to = to.wrapping_add(row.wrapping_mul(distance)) as *mut u8;
                    unsafe { to.copy_from(state.tiles[tile][row].as_ptr(), state.bytes[tile]) };
                }
                Some(length)
            }
            (2, 0x5C) if mode == 3 => {
                let (sum, a, b) = (valid(middle)?, valid(low)?, valid(other)?);
                let steps = state.bytes[a] / 4;
                if sum == a
                    || sum == b
                    || a == b
                    || state.bytes[sum] != state.bytes[b]
                    || state.rows[sum] != state.rows[a]
                    || state.rows[b] != steps
                {
                    return None;
                }
                multiply(state, sum, a, b, steps);
                Some(5)
            }
            _ => None,
        }
    })
}

/// What is below 2⁻¹²⁶ is 0.
fn normal(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE { 0.0 } else { value }
}

fn multiply(state: &mut State, sum: usize, a: usize, b: usize, steps: usize) {
    let half = |row: &[u8; 64], n: usize| normal(f32::from_bits(u32::from(u16::from_le_bytes([row[2 * n], row[2 * n + 1]])) << 16));
    for row in 0..state.rows[sum] {
        for column in 0..state.bytes[sum] / 4 {
            let mut parts = [0.0f32; 2];
            for k in 0..steps {
                for (nth, part) in parts.iter_mut().enumerate() {
                    *part = normal(half(&state.tiles[a][row], 2 * k + nth).mul_add(half(&state.tiles[b][k], 2 * column + nth), *part));
                }
            }
            let place = 4 * column..4 * column + 4;
            let old = f32::from_le_bytes(state.tiles[sum][row][place.clone()].try_into().unwrap());
            let new = normal(normal(old) + normal(parts[0] + parts[1]));
            state.tiles[sum][row][place].copy_from_slice(&new.to_le_bytes());
        }
    }
}
