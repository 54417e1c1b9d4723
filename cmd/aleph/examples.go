package main

// What the examples in the help are about. Tests that run the examples put things of these names in the place.
const (
	exampleAddress  = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
	exampleDelegate = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
	examplePost     = "b0d1a3c3f6f2bd5e1f0b42c3ea9ea3ac2f3b21d0a1f1c4e5d6b7a8990a1b2c3d"
	exampleStore    = "57e0aa2b9f0c4d3e8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f"
	exampleFile     = "5ccdd7bccfbc5955e2e40166dd0cdea0b093154fd87bc2bea57e7c768cde2f21"
	exampleCID      = "QmYULJoNGPDmoRq4WNWTDTUvJGJv1hosox8H6vVd1kCsY8"
	exampleProgram  = "2953f0b5beb79fc0ed1bc455346fdcb530611605e16c636778a0d673d7184af1"
	exampleInstance = "c5b1a9a9d5a1a7b9f2a3b0bbd8a6ec8dc23c2c0f3a4d1fd23b86b2d8f3a1c0de"
	exampleImage    = "1a6e0c2b4d8f7a9c3e5b1d0f2a4c6e8b9d7f5a3c1e0b2d4f6a8c0e1b3d5f7a9c"
	exampleCore     = "c0de00112233445566778899aabbccddeeff00112233445566778899aabbccdd"
	exampleCompute  = "c1de00112233445566778899aabbccddeeff00112233445566778899aabbccdd"
)
