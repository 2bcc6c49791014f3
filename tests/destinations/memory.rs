//! The plainest destination: what it does not pass cannot be asked of the others.

use archive::config::settings::Protocol as ProtocolSettings;
use archive::destination::memory::MemoryServer;
use archive::destination::{Capabilities, Destination, DestinationError};

use crate::server::{Disk, Feature, Place, Protocol, Server};

pub const PROTOCOL: Protocol = Protocol {
    name: "memory",
    needs: &[],
    features: &[Feature::Any, Feature::Many, Feature::Move, Feature::Resume, Feature::Small],
    start: || Box::new(Memory::start(MOVING)),
    refusals: &[],
    more_needs: |_| Vec::new(),
};

/// One that cannot rename, and shows files once they are whole.
pub const ATOMIC: Protocol = Protocol {
    name: "memory-atomic",
    features: &[Feature::Any, Feature::Many, Feature::PutNew, Feature::Resume, Feature::Small],
    start: || Box::new(Memory::start(Capabilities { move_in_one_step: false, atomic_put: true, ..MOVING })),
    ..PROTOCOL
};

const MOVING: Capabilities = Capabilities {
    move_refuses_to_clobber: true,
    move_in_one_step: true,
    checksum_by_server: true,
    resume: true,
    free_space: true,
    server_clock: true,
    atomic_put: false,
};

struct Memory {
    capabilities: Capabilities,
    data: MemoryServer,
    small: MemoryServer,
}

impl Memory {
    fn start(capabilities: Capabilities) -> Self {
        let server = || {
            let server = MemoryServer::new();
            server.set_capabilities(capabilities);
            server
        };
        Memory { capabilities, data: server(), small: server() }
    }

    fn at(&self, place: Place) -> &MemoryServer {
        match place {
            Place::Small => {
                self.small.set_capacity(Some(1 << 20));
                &self.small
            }
            _ => {
                // Without a limit there would be no answer to how much is free.
                self.data.set_capacity(Some(1 << 30));
                &self.data
            }
        }
    }
}

impl Server for Memory {
    fn protocol(&self, _place: Place) -> ProtocolSettings {
        unreachable!("no configuration names it")
    }

    fn connect(&self, place: Place) -> Result<Box<dyn Destination>, DestinationError> {
        Ok(Box::new(self.at(place).connect()?))
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        Box::new(self.at(place).clone())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

impl Disk for MemoryServer {
    fn write(&self, name: &str, content: &[u8]) {
        MemoryServer::write(self, name, content);
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        MemoryServer::read(self, name)
    }

    fn make_directory(&self, name: &str) {
        MemoryServer::make_directory(self, name);
    }

    fn names(&self) -> Vec<String> {
        MemoryServer::names(self)
    }
}
