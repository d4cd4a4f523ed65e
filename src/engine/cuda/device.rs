//! What the operators of a session share on the device: compiled kernels, memory to work in, and cuDNN's handle.

use super::library::{Address, Compiler, Handle, Libraries};
use crate::field::Field;
use ort::{Error, Result};
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_uint, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Attributes of a device: the two numbers of its compute capability.
const CAPABILITY: [i32; 2] = [75, 76];

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

/// A session's. All of its operators run on one stream, one after the other, so that one place to work in serves all.
pub struct Session {
    pub libraries: Arc<Libraries>,
    /// Whether cuDNN may round factors of float32 to 10 bits of mantissa.
    pub tf32: bool,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    kernels: HashMap<String, Compiled>,
    memory: Address,
    bytes: usize,
    cudnn: usize,
    context: usize,
}

/// A module of the driver's with the functions that were asked for.
#[derive(Clone)]
pub struct Compiled {
    module: usize,
    functions: Vec<usize>,
}

/// Values of a kernel's parameters.
#[derive(Default)]
pub struct Parameters(Vec<u64>);

impl Parameters {
    pub fn pointer(&mut self, address: Address) {
        self.0.push(address);
    }

    /// A place, of 64 bits or of 32; the first bytes are the same in both.
    pub fn place(&mut self, place: usize) {
        self.0.push(place as u64);
    }

    pub fn float(&mut self, number: f32) {
        self.0.push(u64::from(number.to_bits()));
    }
}

/// How many blocks, and threads in each.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    pub blocks: [u32; 2],
    pub threads: u32,
}

/// Threads of a block.
const THREADS: u32 = 256;
/// Blocks that are started at most; each then goes on with further elements.
const BLOCKS: usize = 1 << 16;

impl Grid {
    /// A thread for each, as far as there are as many; `None` for none.
    fn over(elements: usize) -> Option<Grid> {
        let blocks = elements.div_ceil(THREADS as usize).min(BLOCKS) as u32;
        (blocks > 0).then_some(Grid { blocks: [blocks, 1], threads: THREADS })
    }
}

impl Session {
    pub fn new(libraries: Arc<Libraries>, tf32: bool) -> Session {
        Session { libraries, tf32, shared: Mutex::default() }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The functions of a source, compiled for this device the first time.
    pub fn compiled(&self, source: String, names: &[&str]) -> Result<Compiled> {
        let mut shared = self.shared();
        if let Some(known) = shared.kernels.get(&source) {
            return Ok(known.clone());
        }
        let made = self.compile(&source, names)?;
        shared.kernels.insert(source, made.clone());
        Ok(made)
    }

    fn capability(&self) -> Result<i32> {
        let (driver, mut device, mut numbers) = (&self.libraries.driver, 0, [0; 2]);
        // SAFETY: each call writes one number. ONNX Runtime has made the device's context the thread's current one.
        self.libraries.driven("say which device computes", unsafe { (driver.cuCtxGetDevice)(&mut device) })?;
        for (number, attribute) in numbers.iter_mut().zip(CAPABILITY) {
            // SAFETY: as above.
            let status = unsafe { (driver.cuDeviceGetAttribute)(number, attribute, device) };
            self.libraries.driven("say what the device can", status)?;
        }
        let [major, minor] = numbers;
        Ok(major.saturating_mul(10).saturating_add(minor))
    }

    fn compile(&self, source: &str, names: &[&str]) -> Result<Compiled> {
        let binary = self.libraries.compiler.compile(source, &format!("sm_{}", self.capability()?))?;
        let driver = &self.libraries.driver;
        let mut module = null_mut();
        // SAFETY: the binary is whole, and the driver copies it.
        self.libraries.driven("load a kernel", unsafe { (driver.cuModuleLoadData)(&mut module, binary.as_ptr().cast()) })?;
        let mut functions = vec![];
        for name in names {
            let (name, mut function) = (CString::new(*name)?, null_mut());
            // SAFETY: the module was loaded above, and the name ends with 0.
            let status = unsafe { (driver.cuModuleGetFunction)(&mut function, module, name.as_ptr()) };
            self.libraries.driven("find a kernel", status)?;
            functions.push(function as usize);
        }
        Ok(Compiled { module: module as usize, functions })
    }

    /// Starts a function of those that were asked for.
    pub fn launch(&self, kernel: &Compiled, function: usize, grid: Grid, parameters: &mut Parameters, stream: Handle) -> Result<()> {
        let Some(&function) = kernel.functions.get(function) else { return Err(Error::new("a kernel has no such function")) };
        let mut pointers: Vec<*mut c_void> = parameters.0.iter_mut().map(|p| std::ptr::from_mut(p).cast()).collect();
        let [x, y] = grid.blocks;
        // SAFETY: the function is of a module that is never unloaded while its session lives; there are as many parameters as the source has, each in 8 bytes,
        // of which the kernel takes what its type needs (the processor is little-endian), and the driver copies them before it returns.
        let status = unsafe {
            (self.libraries.driver.cuLaunchKernel)(
                function as Handle,
                x,
                y,
                1,
                grid.threads as c_uint,
                1,
                1,
                0,
                stream,
                pointers.as_mut_ptr(),
                null_mut(),
            )
        };
        self.libraries.driven("start a kernel", status)
    }

    /// Starts the first function with a thread for each of so many, as far as there are as many; not at all for none.
    pub fn over(&self, kernel: &Compiled, each: usize, parameters: &mut Parameters, stream: Handle) -> Result<()> {
        Grid::over(each).map_or(Ok(()), |grid| self.launch(kernel, 0, grid, parameters, stream))
    }

    /// Memory of at least that many bytes, the same for every operator: what one leaves there, the next writes over.
    pub fn memory(&self, bytes: usize) -> Result<Address> {
        let mut shared = self.shared();
        if shared.bytes < bytes {
            let driver = &self.libraries.driver;
            if shared.memory != 0 {
                // SAFETY: it was allocated below; the driver waits for what still uses it.
                self.libraries.driven("free memory", unsafe { (driver.cuMemFree_v2)(shared.memory) })?;
                (shared.memory, shared.bytes) = (0, 0);
            }
            let mut context = null_mut();
            // SAFETY: writes the thread's current context.
            self.libraries.driven("say where it computes", unsafe { (driver.cuCtxGetCurrent)(&mut context) })?;
            let mut memory = 0;
            // SAFETY: writes an address.
            let status = unsafe { (driver.cuMemAlloc_v2)(&mut memory, bytes) };
            self.libraries.driven(&format!("allocate {bytes} bytes to work in"), status)?;
            (shared.memory, shared.bytes, shared.context) = (memory, bytes, context as usize);
        }
        Ok(shared.memory)
    }

    /// cuDNN's handle, working on the stream.
    pub fn cudnn(&self, stream: Handle) -> Result<Handle> {
        let mut shared = self.shared();
        let cudnn = &self.libraries.cudnn;
        if shared.cudnn == 0 {
            let mut handle = null_mut();
            // SAFETY: writes a handle.
            self.libraries.convolved("start cuDNN", unsafe { (cudnn.cudnnCreate)(&mut handle) })?;
            shared.cudnn = handle as usize;
        }
        let handle = shared.cudnn as Handle;
        // SAFETY: the handle was made above, and the stream is ONNX Runtime's.
        self.libraries.convolved("give cuDNN a stream", unsafe { (cudnn.cudnnSetStream)(handle, stream) })?;
        Ok(handle)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (driver, cudnn) = (&self.libraries.driver, &self.libraries.cudnn);
        let shared = std::mem::take(&mut *self.shared());
        // SAFETY: all of it was made above and nothing uses it any more; what the driver says of it at the end changes nothing.
        unsafe {
            if shared.context != 0 {
                (driver.cuCtxSetCurrent)(shared.context as Handle);
            }
            if shared.cudnn != 0 {
                (cudnn.cudnnDestroy)(shared.cudnn as Handle);
            }
            if shared.memory != 0 {
                (driver.cuMemFree_v2)(shared.memory);
            }
            for kernel in shared.kernels.values() {
                (driver.cuModuleUnload)(kernel.module as Handle);
            }
        }
    }
}

impl Compiler {
    /// The source as a program for devices of that architecture. Products and sums are not contracted.
    pub fn compile(&self, source: &str, architecture: &str) -> Result<Vec<u8>> {
        let (text, name) = (CString::new(source)?, c"expression.cu");
        let options = [CString::new(format!("--gpu-architecture={architecture}"))?, CString::new("--fmad=false")?];
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let mut program = null_mut();
        // SAFETY: both texts end with 0 and are copied; there are no headers.
        let status = unsafe { (self.nvrtcCreateProgram)(&mut program, text.as_ptr(), name.as_ptr(), 0, null(), null()) };
        self.said("read a kernel", status)?;
        // SAFETY: as many options as are given, each of which ends with 0.
        let status = unsafe { (self.nvrtcCompileProgram)(program, pointers.len() as i32, pointers.as_ptr()) };
        let result = match status {
            0 => self.fetch(program),
            _ => Err(Error::new(format!(
                "CUDA could not compile a kernel: {}. This is a bug of spgraph; run with {} standard",
                self.log(program),
                Field::KERNELS
            ))),
        };
        // SAFETY: it was created above.
        unsafe { (self.nvrtcDestroyProgram)(&mut program) };
        result
    }

    fn fetch(&self, program: Handle) -> Result<Vec<u8>> {
        let mut bytes = 0;
        // SAFETY: writes a number.
        self.said("measure a kernel", unsafe { (self.nvrtcGetCUBINSize)(program, &mut bytes) })?;
        let mut binary = vec![0u8; bytes];
        // SAFETY: writes as many bytes as it said.
        self.said("give a kernel", unsafe { (self.nvrtcGetCUBIN)(program, binary.as_mut_ptr().cast()) })?;
        Ok(binary)
    }

    fn log(&self, program: Handle) -> String {
        let mut bytes = 0;
        // SAFETY: writes a number, and then as many bytes as it said.
        unsafe {
            (self.nvrtcGetProgramLogSize)(program, &mut bytes);
            let mut text = vec![0u8; bytes];
            (self.nvrtcGetProgramLog)(program, text.as_mut_ptr().cast());
            String::from_utf8_lossy(&text).trim_end_matches('\0').to_string()
        }
    }
}
