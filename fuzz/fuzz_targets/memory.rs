//! Stored memories: any bytes are a memory or an error, and a memory survives the way there and back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policies::memory::FleetMemory;

fuzz_target!(|data: &[u8]| {
    if let Ok(memory) = FleetMemory::decode(data) {
        assert_eq!(FleetMemory::decode(&memory.encode()), Ok(memory));
    }
});
